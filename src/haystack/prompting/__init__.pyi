from .choose import choose_prompts as choose_prompts
from .write import Chosen as Chosen
from .write import write_prompts as write_prompts
