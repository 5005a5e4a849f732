"""The XML adapter: each field in an element of its name, models and lists as nested elements. As dspy 3.4
`XMLAdapter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from xml.etree import ElementTree

import pydantic

from ..signatures import FieldSpec, SignatureMeta
from .annotation import placeholder
from .chat import ChatAdapter
from .demos import Record
from .errors import AdapterParseError
from .field_text import FieldInfoWithName, text_in_field, with_fields
from .plan import FieldPlan
from .values import jsonable
from .xml_values import children_of, escaped, is_nested, nests, value_of, value_to_xml, xml_field


class XMLAdapter(ChatAdapter):
    """As `ChatAdapter`, with `<field>` elements for sections. An answer that cannot be read is asked for as JSON."""

    def format_field_structure(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        inputs = "\n\n".join(self._explained_field(signature, field.spec) for field in plan.inputs)
        outputs = "\n\n".join(self._explained_field(signature, field.spec) for field in plan.outputs.values())
        structure = "All interactions will be structured in the following way, with the appropriate values filled in."
        return f"{structure}\n\n{inputs}\n\n{outputs}"

    def _explained_field(self, signature: SignatureMeta, spec: FieldSpec) -> str:
        if spec.kind == "output" and is_nested(spec):
            return str(xml_field(spec).skeleton)
        if not self._values_are_fixed:
            return self.format_field_with_value(with_fields(signature, {spec.name: placeholder(spec)}))
        return _element(spec.name, placeholder(spec))  # a placeholder has nothing to escape

    def user_message_output_requirements(self, signature: SignatureMeta) -> str | None:
        plan = self._plan(signature)
        order = ", then ".join(f"`<{name}>`" for name in plan.outputs)
        nested = [field.spec for field in plan.outputs.values() if is_nested(field.spec)]
        structures = " ".join(str(xml_field(spec).skeleton) for spec in nested)
        hint = f" Use this nested XML structure: {structures}" if nested else ""
        return f"Respond with the corresponding output fields wrapped in XML tags {order}.{hint}"

    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        given = [field for field in self._plan(signature).inputs if field.name in inputs]
        blocks = [prefix]
        if self._values_are_fixed:
            blocks.append("\n\n".join(_element(field.name, field.text(inputs[field.name])) for field in given).strip())
        else:
            values = {field.name: inputs[field.name] for field in given}
            blocks.append(self.format_field_with_value(with_fields(signature, values)))
        if main_request:
            blocks.append(self._reminder(signature) or "")
        blocks.append(suffix)
        return "\n\n".join(blocks).strip()

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        fields = self._plan(signature).outputs
        values = {name: outputs.get(name, missing_field_message) for name in fields}
        if self._values_are_fixed:
            return "\n\n".join(_output(fields[name], value) for name, value in values.items()).strip()
        return self.format_field_with_value(with_fields(signature, values))

    def format_field_with_value(self, fields_with_values: Mapping[FieldInfoWithName, Any]) -> str:
        """Values in elements of their fields' names; structured outputs as nested elements."""
        written: list[str] = []
        for field, value in fields_with_values.items():
            extra = cast("dict[str, Any] | None", field.info.json_schema_extra) or {}
            if extra.get("__dspy_field_type") == "output":
                written.append(_output_element(field, value))
            else:
                written.append(_element(field.name, text_in_field(field, value)))
        return "\n\n".join(written).strip()

    def parse(self, signature: SignatureMeta, completion: str) -> dict[str, Any]:
        plan = self._plan(signature)
        try:
            elements = children_of(ElementTree.fromstring(f"<dspy_root>{completion}</dspy_root>"))
        except (ElementTree.ParseError, ValueError) as error:  # ValueError: a text that is no Unicode
            raise self._unreadable(signature, completion, f"Failed to parse XML: {error}") from error
        found: dict[str, Any] = {}
        for name, field in plan.outputs.items():
            if name in elements:
                found[name] = self._read(signature, completion, field, elements[name])
        outputs = plan.completed(found)
        if len(outputs) != len(plan.outputs):
            raise AdapterParseError(
                adapter_name="XMLAdapter", signature=signature, lm_response=completion, parsed_result=outputs
            )
        return outputs

    def _read(
        self, signature: SignatureMeta, completion: str, field: FieldPlan, elements: list[ElementTree.Element]
    ) -> Any:
        compiled = xml_field(field.spec)
        value: Any = None
        failure: Exception | None = None
        for schema in compiled.candidates:
            try:
                value = value_of(elements, schema, compiled.definitions)
                try:
                    return field.coerce(value)
                except pydantic.ValidationError:
                    return compiled.adapter.validate_python(value, by_name=True)
            except (ValueError, TypeError, RecursionError) as error:
                failure = error
        message = f"Failed to parse field {field.spec.to_info()} with value {value}: {failure}"
        raise self._unreadable(signature, completion, message) from failure

    @staticmethod
    def _unreadable(signature: SignatureMeta, completion: str, message: str) -> AdapterParseError:
        return AdapterParseError(
            adapter_name="XMLAdapter", signature=signature, lm_response=completion, message=message
        )


def _element(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>"


def _output(field: FieldPlan, value: Any) -> str:
    if field.is_text and type(value) is str:
        return _element(field.name, escaped(value))
    if is_nested(field.spec):
        plain = jsonable(value)
        if isinstance(plain, (dict, list)):
            return value_to_xml(plain, field.name)
    text = field.text(value)
    return _element(field.name, escaped(text) if field.is_text else text)


def _output_element(field: FieldInfoWithName, value: Any) -> str:
    if nests(field.info.annotation):
        plain = jsonable(value)
        if isinstance(plain, (dict, list)):
            return value_to_xml(plain, field.name)
    text = text_in_field(field, value)
    return _element(field.name, escaped(text) if field.info.annotation is str else text)
