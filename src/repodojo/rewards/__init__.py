"""What is paid: grading in a fresh box."""
