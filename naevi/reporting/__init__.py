"""Write report.html and report.md."""
