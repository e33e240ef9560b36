"""What draws each product class: `KINDS`, its defects, and `build`, its surface."""
