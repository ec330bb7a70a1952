"""YAML in which everything is written out, once."""

from __future__ import annotations

import yaml


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases, by which a small file may describe a huge document, and duplicate keys.

    YAML allows both; of duplicate keys the last would silently win.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, unless it is an alias."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            text = f"'*{event.anchor}' is an alias; write out what it stands for"
            raise yaml.composer.ComposerError(None, None, text, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - PyYAML's
        """Return a mapping, unless one of its keys is there twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                text = f"duplicate key '{key}'"
                raise yaml.constructor.ConstructorError(None, None, text, node.start_mark)
        return super().construct_mapping(node, deep)
