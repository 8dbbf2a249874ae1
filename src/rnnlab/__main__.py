"""`python -m rnnlab`."""

import sys

if not sys.flags.safe_path:
    # The folder it was started in, perhaps full of somebody's files: `import hydra_plugins` or torch must not find it.
    del sys.path[0]

from rnnlab.cli import main

sys.exit(main())
