"""Checks of what `--json` prints against docs/schema.json."""

from typing import Any

import jsonschema

from tools import json_docs


def is_whole(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# To the standard, 4.0 is an integer; to a strict parser it is not.
STRICT = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole),
)


def check_object(item: Any, kind: str) -> None:
    """Raise `ValidationError` if an object has other fields or types than the schema says."""
    schema = json_docs.build_schema(strict=True)
    STRICT({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}).validate(item)
