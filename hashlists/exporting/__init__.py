"""What an export is made of; `hashlists.exporter` puts it together."""
