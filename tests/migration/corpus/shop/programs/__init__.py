from .recommend import Recommend
from .search import *
