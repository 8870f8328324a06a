"""Starts moto with identifiers that depend only on its seed, and with what the box's stacks need and it lacks.

RDS names the secrets of master users with identifiers of its own, which would differ after each restart of the box, and
gives all instances the same resource id. Its automated snapshots are named after the minute: if an instance is created
again while its former one's remain, in the same minute or when the account is restored, the creation fails. The box
has automated backups of its own. A rotation of the master user's secret would leave it without a current version.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

from moto.budgets.responses import BudgetsResponse
from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.moto_api._internal import mock_random
from moto.rds import models
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.server import main


def describe_subscribers_for_notification(self: BudgetsResponse) -> str:
    """moto stores the subscribers of a notification, but has no operation that returns them."""
    budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
    wanted = self._get_param("Notification")
    found = [each.subscribers for each in budget.notifications if each.details == wanted]
    return json.dumps({"Subscribers": [subscriber for group in found for subscriber in group]})


create_budget = BudgetsResponse.create_budget
budget_tags: dict[str, list[dict[str, str]]] = {}


def create_budget_with_tags(self: BudgetsResponse) -> str:
    """moto ignores the tags of a budget."""
    response = create_budget(self)
    account, name = self._get_param("AccountId"), self._get_param("Budget")["BudgetName"]
    budget_tags[f"arn:aws:budgets::{account}:budget/{name}"] = self._get_param("ResourceTags", [])
    return response


def list_tags_for_resource(self: BudgetsResponse) -> str:
    return json.dumps({"ResourceTags": budget_tags.get(self._get_param("ResourceARN"), [])})


set_lifecycle = FakeBucket.set_lifecycle
serialized = S3Response.serialized


def set_lifecycle_with_versions(self: FakeBucket, rules: list[dict[str, Any]]) -> None:
    """moto forgets how many noncurrent versions a rule keeps."""
    set_lifecycle(self, rules)
    for stored, rule in zip(self.rules, rules, strict=True):
        stored.kept_versions = (rule.get("NoncurrentVersionExpiration") or {}).get("NewerNoncurrentVersions")


def serialized_with_versions(self: S3Response, result: ActionResult) -> Any:
    answer = result.result
    if isinstance(answer, dict) and "TransitionDefaultMinimumObjectSize" in answer:
        for rule, stored in zip(answer["Rules"], self.backend.get_bucket(self.bucket_name).rules, strict=True):
            if stored.kept_versions is not None:
                rule["NoncurrentVersionExpiration"]["NewerNoncurrentVersions"] = stored.kept_versions
    return serialized(self, result)


def get_permission(self: FakeBucket, action: str, resource: str) -> PermissionResult:
    """moto ignores conditions, and would apply a statement that denies access without TLS to everyone."""
    if self.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(self.policy)
    policy["Statement"] = [statement for statement in policy["Statement"] if "Condition" not in statement]
    return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)


BudgetsResponse.create_budget = create_budget_with_tags
BudgetsResponse.describe_subscribers_for_notification = describe_subscribers_for_notification
BudgetsResponse.list_tags_for_resource = list_tags_for_resource
FakeBucket.get_permission = get_permission
FakeBucket.set_lifecycle = set_lifecycle_with_versions
S3Response.serialized = serialized_with_versions
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
