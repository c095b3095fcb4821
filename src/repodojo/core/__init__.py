"""What flows (records), how it fails (errors), and what parts promise (protocols)."""
