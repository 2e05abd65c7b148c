from .ask import parse_question as parse_question
from .ask import parse_run as parse_run
from .ask import write_query as write_query
