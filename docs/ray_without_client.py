"""The command ``ray`` without Ray Client: its port takes code from whoever reaches it, and no option closes it.

``ray start --head`` opens it on the node's address wherever grpcio is installed; TensorBoard and others bring that.
Only this process believes that grpcio is missing: the daemons that it starts are others.
"""

import sys

sys.modules["grpc"] = None  # type: ignore[assignment]  # Python's way to say that a module cannot be imported

from ray.scripts.scripts import main  # noqa: E402

main()
