from .check import check_atlas as check_atlas
from .check import usable_atlases as usable_atlases
from .download import download_atlas as download_atlas
from .harmonize import harmonize_atlas as harmonize_atlas
from .index import control_pairs as control_pairs
from .index import index_cell_sets as index_cell_sets
from .index import index_statistics as index_statistics
from .rows import read_rows as read_rows
