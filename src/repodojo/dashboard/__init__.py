"""One HTML file that shows a run; it reads run directories only."""
