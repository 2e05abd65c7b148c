from .parse import parse_question as parse_question
from .parse import write_query as write_query
