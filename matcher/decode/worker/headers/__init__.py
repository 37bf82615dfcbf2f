"""What a file says of its size, frames and wholeness, read from its structure alone.

One module per format, each with `read_header(data, frame_limit) -> Header`. They are written here
rather than asked of Pillow because some of its plug-ins take memory for pixels, or decode, while a
file is being opened, and because none of them says whether a file was cut off.
"""
