"""`python -m stt_ft`, and what `torchrun -m stt_ft train …` starts."""

import sys

from stt_ft.cli import main

if __name__ == "__main__":
    sys.exit(main())
