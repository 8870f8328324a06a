"""Starts moto with identifiers that depend only on its seed.

RDS names the secrets of master users with identifiers of its own, which would differ after each restart of the box.
"""

import sys
from types import SimpleNamespace

from moto.moto_api._internal import mock_random
from moto.rds import models
from moto.server import main

models.uuid = SimpleNamespace(uuid4=mock_random.uuid4)
sys.exit(main())
