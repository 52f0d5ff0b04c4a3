"""The registry's commands: what they print, their JSON and their exit codes, against the real services."""

from __future__ import annotations

import inspect
import json
from importlib import util
from pathlib import Path

import pytest
from runstream.cli import output
from runstream.registry.async_models import AsyncModels
from runstream.registry.async_prompts import AsyncPrompts
from runstream.registry.async_webhooks import AsyncWebhooks
from runstream.registry.models import Models
from runstream.registry.prompts import Prompts
from runstream.registry.webhooks import Webhooks


def json_of(result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def two_versions(client, name, make_run):
    """A model whose first version is worse than its second."""
    for accuracy in (0.7, 0.95):
        run_id = make_run(files={"model/w.txt": str(accuracy)}, accuracy=accuracy)
        client.models.create_version(name, f"runs:/{run_id}/model", create_model=True)
    return name


def test_models_are_registered_listed_and_shown(cli, name):
    assert f"registered {name} version 1" in cli("models", "register", "s3://b/m", name, "-t", "a=b").stdout
    made = json_of(cli("models", "register", "s3://b/n", name, "--parent", f"{name}/1:tuned", "--json"))[
        "version"
    ]
    assert (made["version"], made["parents"][0]["relation"]) == (2, "tuned")
    assert name in cli("models", "list", "-f", f"name = '{name}'").stdout
    assert json_of(cli("models", "show", name, "--json"))["model"]["version_count"] == 2
    assert "s3://b/m" in cli("models", "show", name, "1").stdout
    assert [v["version"] for v in json_of(cli("models", "versions", name, "--json"))["versions"]] == [2, 1]
    assert "tuned" in cli("models", "lineage", name, "2").stdout
    assert cli("models", "tag", name, "team=risk", "-v", "1").exit_code == 0
    assert json_of(cli("models", "show", name, "1", "--json"))["version"]["tags"] == {
        "a": "b",
        "team": "risk",
    }
    assert cli("models", "rename", name, f"{name}-2").exit_code == 0
    assert cli("models", "delete", f"{name}-2", "--yes").exit_code == 0
    assert cli("models", "show", f"{name}-2").exit_code == output.EXIT_NOT_FOUND
    assert cli("models", "versions", f"{name}-2").exit_code == output.EXIT_NOT_FOUND


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_gate_speaks_through_the_command_line(cli, two_versions, tmp_path, suffix):
    name, file = two_versions, tmp_path / f"policy.{suffix}"
    if suffix == "yaml" and util.find_spec("yaml") is None:
        pytest.skip("needs the extra yaml")
    # JSON is YAML too.
    rules = [{"metric": {"condition": "accuracy >= 0.9"}}]
    file.write_text(json.dumps({"models": name, "targets": "*", "rules": rules}))
    assert "revision 1" in cli("registry", "policies", "put", name, str(file)).stdout
    assert name in cli("registry", "policies", "list", name).stdout
    assert "accuracy >= 0.9" in cli("registry", "policies", "show", name).stdout

    dry = cli("models", "promote", name, "1", "-a", "champion", "--dry-run")
    assert dry.exit_code == output.EXIT_GATED
    for text in ("✗", "accuracy >= 0.9", "0.7", f"{name} (revision 1)", "would be refused"):
        assert text in dry.stdout
    refused = cli("models", "promote", name, "1", "-a", "champion")
    assert refused.exit_code == output.EXIT_GATED
    assert refused.stderr.count("accuracy >= 0.9") == 1  # told once, with its mark
    assert "✗ accuracy >= 0.9" in refused.stderr
    told = json.loads(cli("models", "promote", name, "1", "-a", "champion", "--json").stderr)["error"]
    assert (told["reason"], told["rules"][0]["passed"]) == ("PROMOTION_REFUSED", False)

    missing = cli("models", "show", name, "@champion")
    assert (missing.exit_code, "ALIAS_NOT_FOUND" in missing.stderr) == (output.EXIT_NOT_FOUND, True)

    allowed = cli("models", "promote", name, "2", "-a", "champion", "--dry-run")
    assert (allowed.exit_code, "✓" in allowed.stdout) == (0, True)
    assert "promotion 1" in cli("models", "promote", name, "2", "-a", "champion", "-m", "better").stdout
    assert "is there already" in cli("models", "promote", name, "2", "-a", "champion").stdout
    assert cli("registry", "policies", "delete", name).exit_code == 0
    cli("models", "promote", name, "1", "-a", "champion")
    assert json_of(cli("models", "rollback", name, "-a", "champion", "--json"))["promotion"]["version"] == 2
    history = json_of(cli("models", "history", name, "--json"))["promotions"]
    assert [(p["sequence"], p["version"]) for p in history] == [(3, 2), (2, 1), (1, 2)]
    assert json_of(cli("models", "alias", name, "--json")) == {"aliases": {"champion": 2}}
    assert json_of(cli("models", "alias", name, "-d", "champion", "--json")) == {"aliases": {}}


def test_an_evaluation_is_recorded_and_asked_for(cli, client, two_versions):
    name = two_versions
    rules = [{"evaluation": {"evaluation": "regression-suite"}}]
    client.models.put_policy(name, {"models": name, "targets": "*", "rules": rules})
    record = ("models", "record-evaluation", name, "2", "regression-suite")
    promotion = ("models", "promote", name, "2", "-a", "champion", "--dry-run")
    assert cli(*record).exit_code == output.EXIT_USAGE
    assert "failed" in cli(*record, "--failed", "--summary", "3 of 40 cases").stdout
    assert cli(*promotion).exit_code == output.EXIT_GATED
    assert json_of(cli(*record, "--passed", "--json")) == {"evaluation": "regression-suite", "passed": True}
    assert cli(*promotion).exit_code == 0


def test_a_diff_is_printed(cli, two_versions):
    shown = cli("models", "diff", two_versions, "1", "2").stdout
    for text in ("metric", "accuracy", "0.95", "file changed", "w.txt"):
        assert text in shown
    assert json_of(cli("models", "diff", two_versions, "1", "2", "--json"))["metrics"][0]["key"] == "accuracy"
    assert "no differences" in cli("models", "diff", two_versions, "1", "1").stdout


def test_the_audit_trail_is_listed_and_verified(cli, client, name):
    client.models.create(name)
    assert "ada" in cli("registry", "audit", name).stdout
    (entry,) = json_of(cli("registry", "audit", name, "--json"))["entries"]
    words = ("registry", "verify-audit", "--chain", entry["chain"])
    digest = json_of(cli(*words, "--json"))["heads_digest"]
    assert f"heads_digest {digest}" in cli(*words).stdout
    assert cli(*words, "--expected-digest", digest).exit_code == 0
    client.models.update(name, description="changed")
    assert cli(*words, "--expected-digest", digest).exit_code == output.EXIT_PROBLEM


def test_requests_are_asked_and_decided(cli, client, name, monkeypatch):
    client.models.create_version(name, "s3://b/1", create_model=True)
    roles = [{"name": "manager", "members": ["grace"]}]
    rules = [{"approvals": {"count": 1, "roles": ["manager"]}}]
    client.models.put_policy(name, {"models": name, "targets": "*", "rules": rules, "roles": roles})
    asked = json_of(cli("models", "request", name, "1", "-a", "champion", "--json"))["request"]["request_id"]
    assert asked in cli("models", "requests", name).stdout
    monkeypatch.setenv("RUNSTREAM_ACTOR", "grace")
    assert "promoted: promotion 1" in cli("models", "approve", asked, "-m", "fine").stdout
    assert cli("models", "reject", asked).exit_code == output.EXIT_REFUSED
    client.models.delete_policy(name)


def test_prompts_are_created_shown_and_filled(cli, name, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Hello {{name}}")
    assert "version 1" in cli("prompts", "create", name, str(file), "-m", "first").stdout
    chat = tmp_path / "chat.json"
    chat.write_text('[{"role": "user", "content": "Hi {{name}}"}]')
    assert cli("prompts", "create", name, str(file), "--chat").exit_code == output.EXIT_USAGE
    file.write_text("Good day {{name}} of {{place}}")
    assert cli("prompts", "create", name, str(file)).exit_code == 0
    assert "Hello {{name}}" in cli("prompts", "show", name, "1").stdout
    assert name in cli("prompts", "list").stdout
    assert [v["version"] for v in json_of(cli("prompts", "versions", name, "--json"))["versions"]] == [2, 1]
    assert "variables added: place" in cli("prompts", "diff", name, "1", "2").stdout
    assert cli("prompts", "render", name, "1", "--var", "name=Ada").stdout == "Hello Ada\n"
    assert cli("prompts", "render", name, "1").exit_code == output.EXIT_USAGE
    assert cli("prompts", "create", f"{name}-chat", str(chat), "--chat").exit_code == 0
    assert "user:\nHi {{name}}" in cli("prompts", "show", f"{name}-chat").stdout


@pytest.mark.parametrize(
    ("awaited", "blocking"), [(AsyncModels, Models), (AsyncPrompts, Prompts), (AsyncWebhooks, Webhooks)]
)
def test_both_clients_offer_the_same_methods_and_arguments(awaited, blocking):
    def surface(kind):
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {n: list(inspect.signature(m).parameters) for n, m in methods if not n.startswith("_")}

    assert surface(awaited) == surface(blocking)
    assert len(surface(blocking)) > 5


def test_words_that_are_none_are_errors_of_usage(cli, name, tmp_path: Path):
    broken = tmp_path / "policy.json"
    broken.write_text("{")
    assert cli("registry", "policies", "put", name, str(broken)).exit_code == output.EXIT_USAGE
    assert cli("models", "register", "s3://b/m", name, "--parent", "no-number").exit_code == output.EXIT_USAGE
    assert cli("models", "tag", name, "novalue").exit_code == output.EXIT_USAGE
    assert cli("models", "promote", name, "one", "-a", "champion").exit_code == output.EXIT_USAGE
    assert cli("models", "promote", name, "1").exit_code == output.EXIT_USAGE
