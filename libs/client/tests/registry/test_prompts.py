"""Prompts through the client, against the real services."""

from __future__ import annotations

import pytest
import runstream
from runstream_common.errors import InvalidArgument


def test_versions_aliases_diffs_and_searches(client, name):
    first = client.prompts.register(
        name, "Hello {{ name }}", commit_message="first", model_config={"temperature": 0.5}, tags={"a": "1"}
    )
    assert (first.version, first.variables, first.user_id) == (1, ("name",), "ada")
    assert (first.model_config, first.tags, first.is_chat) == ({"temperature": 0.5}, {"a": "1"}, False)
    client.prompts.register(name, "Hello {{ name }} from {{place}}", expected_variables=["name", "place"])
    assert client.prompts.get(name).version == 2
    assert client.prompts.set_alias(name, "production", 1).allowed
    assert client.prompts.get(name, "@production").aliases == ("production",)
    diff = client.prompts.diff(name, "@production", 2)
    assert (diff.added_variables, diff.removed_variables) == (("place",), ())
    assert "+Hello {{ name }} from {{place}}" in diff.template_diff
    assert [v.version for v in client.prompts.versions(name, page_size=1)] == [2, 1]
    (found,) = client.prompts.search(f"name = '{name}'")
    assert (found.latest_version, found.aliases) == (2, {"production": 1})
    assert name not in [model.name for model in client.models.search(f"name = '{name}'")]


def test_text_is_filled_here_and_by_the_service_alike(client, name):
    prompt = client.prompts.register(name, "{{ a }}-{{b}}-{{a}} {{ }}")
    values = {"a": "{{b}}", "b": 2}
    assert prompt.format(**values) == "{{b}}-2-{{b}} {{ }}"
    assert client.prompts.render(name, values).content == prompt.format(**values)
    for wrong in ({"a": 1}, {"a": 1, "b": 2, "c": 3}):
        with pytest.raises(InvalidArgument):
            prompt.format(**wrong)
        with pytest.raises(InvalidArgument):
            client.prompts.render(name, wrong)


def test_a_chat_is_filled_message_by_message(client, name):
    chat = [{"role": "system", "content": "Be {{mood}}."}, {"role": "user", "content": "{{question}}"}]
    prompt = client.prompts.register(name, chat)
    assert prompt.is_chat
    assert prompt.format(mood="kind", question="Why?") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Why?"},
    ]
    with pytest.raises(InvalidArgument) as caught:
        client.prompts.register(name, [{"content": "no role"}])
    assert caught.value.violations[0].field == "template[0]"


def test_loading_in_a_run_notes_the_use(client, name, logging_here):
    runstream.register_prompt(name, "Hi {{who}}")
    client.prompts.set_alias(name, "best", 1)
    with runstream.start_run() as run:
        assert runstream.load_prompt(f"prompts:/{name}@best").version == 1
        assert runstream.load_prompt(f"prompts:/{name}/1").uri == f"prompts:/{name}/1"
    assert [(item.name, item.version) for item in client.prompts.links(run_id=run.run_id)] == [(name, 1)]
    assert [item.id for item in client.prompts.links(name)] == [run.run_id]
