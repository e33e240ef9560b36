import sys
from pathlib import Path

# The benchmarks are no part of the installed package; they are found from the checkout's root.
sys.path.append(str(Path(__file__).parents[2]))
