"""Starts moto with identifiers that depend only on its seed.

RDS names the secrets of master users with identifiers of its own, which would differ after each restart of the box, and
gives all instances the same resource id. Its automated snapshots are named after the minute: if an instance is created
again while its former one's remain, in the same minute or when the account is restored, the creation fails. The box
has automated backups of its own. A rotation of the master user's secret would leave it without a current version.
"""

import sys
from types import SimpleNamespace

from moto.moto_api._internal import mock_random
from moto.rds import models
from moto.server import main

models.uuid = SimpleNamespace(uuid4=mock_random.uuid4)
initialize = models.DBInstance.__init__


def initialize_with_resource_id(instance, *args, **kwargs):
    initialize(instance, *args, **kwargs)
    instance.dbi_resource_id = f"db-{mock_random.uuid4().hex[:26].upper()}"


def rotate(master):
    content = master._generate_secret_string()
    master.secretsmanager.put_secret_value(master.secret_arn, content, None, None, ["AWSCURRENT"])


models.DBInstance.__init__ = initialize_with_resource_id
models.DBInstance.save_automated_backup = lambda instance: None
models.MasterUserSecret.rotate_secret = rotate
sys.exit(main())
