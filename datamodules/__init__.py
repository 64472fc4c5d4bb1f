"""One data set a file; the listing of this folder's YAML files is the catalogue."""
