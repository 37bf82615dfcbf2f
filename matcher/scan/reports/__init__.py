"""What a scan found, as files for programs and a page for people."""
