"""One published method a file; the listing of this folder's YAML files is the catalogue."""
