"""The REST API as OpenAPI: from a contract with every kind of field, and from the shop's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.api import http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from openapi_spec_validator import validate

from weft.contract import load_image, read_contract
from weft.contract.openapi import build_openapi, render_openapi

ROOT = Path(__file__).parents[3]
PROTO = """
syntax = "proto3";
package kitchen.v1;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/money.proto";
import "mesh/v1/options.proto";

// Cooks.
service KitchenService {
  option (mesh.v1.service) = {name: "kitchen"};
  // Returns a dish. Fails with NOT_FOUND
  // when there is none.
  rpc GetDish(GetDishRequest) returns (Dish) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {get: "/v1/dishes/{dish_id}" additional_bindings {get: "/v1/{menu.name=menus/*}/dish"}};
    option (mesh.v1.method) = {access: ACCESS_PUBLIC timeout: {nanos: 500000000}};
  }
  // Cooks a dish.
  // buf:lint:ignore RPC_RESPONSE_STANDARD_NAME
  rpc CreateDish(CreateDishRequest) returns (Dish) {
    option (google.api.http) = {post: "/v1/menus/{menu_id}/dishes" body: "*"};
    option (mesh.v1.method) = {
      access: ACCESS_AUTHENTICATED roles: "cook" roles: "admin" timeout: {seconds: 2}
      rate_limit: {requests: 5 per: {seconds: 60}}
    };
  }
  // Changes a dish.
  rpc UpdateDish(UpdateDishRequest) returns (UpdateDishResponse) {
    option (google.api.http) = {patch: "/v1/dishes/{dish_id}" body: "dish" response_body: "dish"};
    option (mesh.v1.method) = {access: ACCESS_AUTHENTICATED timeout: {seconds: 2}};
  }
  // Follows dishes.
  rpc WatchDishes(GetDishRequest) returns (stream Dish) {
    option (google.api.http) = {get: "/v1/dishes:watch"};
    option (mesh.v1.method) = {access: ACCESS_PUBLIC};
  }
  // Has no REST path.
  rpc Hidden(GetDishRequest) returns (Dish) {
    option (mesh.v1.method) = {access: ACCESS_PUBLIC timeout: {seconds: 1}};
  }
}

// What is eaten.
message Dish {
  // How it is made.
  enum Method {
    // Not said.
    METHOD_UNSPECIFIED = 0;
    // In a pan.
    METHOD_FRIED = 1;
  }
  // Which.
  string dish_id = 1 [(google.api.field_behavior) = OUTPUT_ONLY];
  // Its name.
  string display_name = 2 [
    (google.api.field_behavior) = REQUIRED,
    (mesh.v1.field) = {min_length: 3 max_length: 40 pattern: "[A-Z].*|-"}
  ];
  int64 calories = 3 [(mesh.v1.field) = {minimum: 0}];
  int32 minutes = 4 [(mesh.v1.field) = {minimum: 1 maximum: 90.5}];
  Method method = 5;
  repeated string tags = 6 [(mesh.v1.field) = {max_length: 9 min_items: 1 max_items: 3 unique: true}];
  map<string, Dish> sides = 7 [(mesh.v1.field) = {max_items: 2}];
  google.type.Money price = 8 [(mesh.v1.field) = {minimum: 0}];
  google.protobuf.Timestamp create_time = 9;
  google.protobuf.Duration rest = 10;
  google.protobuf.Int64Value served = 11;
  bytes picture = 12;
  string cook_email = 13 [(mesh.v1.field) = {format: FORMAT_EMAIL sensitive: true}];
  // Eaten.
  oneof eaten {
    // With.
    bool fork = 14;
    // Or with.
    bool spoon = 15;
  }
  optional double weight = 16;
}
// Which dish.
message GetDishRequest {
  string dish_id = 1 [(google.api.field_behavior) = REQUIRED, (mesh.v1.field) = {format: FORMAT_UUID}];
  Menu menu = 2;
  repeated int32 sizes = 3;
  Dish.Method method = 4;
  google.protobuf.Timestamp since_time = 5;
  repeated Menu never = 6;
}
// A menu.
message Menu {
  string name = 1;
  Menu of = 2;
  int32 page_number = 3;
  string made_by = 4 [(google.api.field_behavior) = OUTPUT_ONLY];
}
// What to cook.
message CreateDishRequest {
  string menu_id = 1;
  Dish dish = 2 [(google.api.field_behavior) = REQUIRED];
  string request_id = 3;
}
// What to change.
message UpdateDishRequest { string dish_id = 1; Dish dish = 2; google.protobuf.FieldMask update_mask = 3; }
// Changed.
message UpdateDishResponse { Dish dish = 1; }
"""


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    folder = tmp_path_factory.mktemp("kitchen")
    (folder / "kitchen.proto").write_text(PROTO)
    google, tools = Path(http_pb2.__file__).parents[2], Path(protoc.__file__).parent / "_proto"
    includes = [f"-I{path}" for path in (folder, ROOT / "protos", google, tools)]
    options = [f"--descriptor_set_out={folder / 'image.binpb'}", "--include_imports", "--include_source_info"]
    assert protoc.main(["protoc", *includes, *options, "kitchen.proto"]) == 0
    return load_image(folder / "image.binpb")


@pytest.fixture(scope="module", name="document")
def _document(files: FileDescriptorSet) -> Any:
    return build_openapi(read_contract(files.file), files.file, title="Kitchen", version="7")


def parameters(operation: Any) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in operation["parameters"]}


def test_the_document_is_valid_openapi(document: Any) -> None:
    validate(document)

    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "Kitchen", "version": "7"}
    assert document["tags"] == [{"name": "kitchen", "description": "Cooks."}]


def test_every_binding_is_an_operation_and_nothing_else_is(document: Any) -> None:
    operations = {
        (verb, path): operation["operationId"]
        for path, item in document["paths"].items()
        for verb, operation in item.items()
    }

    assert operations == {
        ("get", "/v1/dishes/{dishId}"): "KitchenService_GetDish",
        ("get", "/v1/{menu.name}/dish"): "KitchenService_GetDish_2",
        ("post", "/v1/menus/{menuId}/dishes"): "KitchenService_CreateDish",
        ("patch", "/v1/dishes/{dishId}"): "KitchenService_UpdateDish",
        ("get", "/v1/dishes:watch"): "KitchenService_WatchDishes",
    }


def test_comments_become_summary_and_description(document: Any) -> None:
    operation = document["paths"]["/v1/dishes/{dishId}"]["get"]

    assert operation["summary"] == "Returns a dish"
    assert operation["description"] == "Returns a dish. Fails with NOT_FOUND when there is none."


def test_a_comment_for_the_linter_is_not_shown(document: Any) -> None:
    operation = document["paths"]["/v1/menus/{menuId}/dishes"]["post"]

    assert operation["description"] == "Cooks a dish."


def test_fields_outside_path_and_body_are_query_parameters(document: Any) -> None:
    operation = document["paths"]["/v1/dishes/{dishId}"]["get"]

    found = parameters(operation)
    assert {name: parameter["in"] for name, parameter in found.items()} == {
        "dishId": "path",
        "menu.name": "query",
        "menu.pageNumber": "query",
        "sizes": "query",
        "method": "query",
        "sinceTime": "query",
    }
    assert found["dishId"] == {
        "name": "dishId",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
    assert found["sizes"]["schema"] == {"type": "array", "items": {"type": "integer", "format": "int32"}}
    assert found["sinceTime"]["schema"] == {"type": "string", "format": "date-time"}


def test_a_body_of_all_fields_leaves_out_those_in_the_path(document: Any) -> None:
    operation = document["paths"]["/v1/menus/{menuId}/dishes"]["post"]

    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"dish", "requestId"}
    assert schema["required"] == ["dish"]
    assert set(parameters(operation)) == {"menuId", "Idempotency-Key"}


def test_a_body_that_is_one_field_leaves_the_rest_to_the_query(document: Any) -> None:
    operation = document["paths"]["/v1/dishes/{dishId}"]["patch"]

    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/kitchen.v1.Dish"
    }
    assert parameters(operation)["updateMask"]["schema"] == {"type": "string"}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/kitchen.v1.Dish"
    }


def test_who_may_call_and_how_often_is_written_down(document: Any) -> None:
    public = document["paths"]["/v1/dishes/{dishId}"]["get"]
    guarded = document["paths"]["/v1/menus/{menuId}/dishes"]["post"]

    assert public["security"] == []
    assert guarded["security"] == [{"bearer": []}]
    assert guarded["x-roles"] == ["admin", "cook"]
    assert guarded["x-rate-limit"] == {"requests": 5, "per": "60s"}
    assert (public["x-timeout"], public["x-idempotent"], guarded["x-idempotent"]) == ("0.5s", True, False)
    assert set(public["responses"]) == {"200", "404", "429", "default"}
    assert set(guarded["responses"]) == {"200", "401", "403", "404", "429", "default"}


def test_fields_are_described_as_json_has_them_and_with_their_rules(document: Any) -> None:
    dish = document["components"]["schemas"]["kitchen.v1.Dish"]

    assert dish["required"] == ["displayName"]
    assert dish["properties"] == {
        "dishId": {"type": "string", "readOnly": True, "description": "Which."},
        "displayName": {
            "type": "string",
            "pattern": "^(?:[A-Z].*|-)$",
            "minLength": 3,
            "maxLength": 40,
            "description": "Its name.",
        },
        "calories": {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$", "x-minimum": 0},
        "minutes": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 90.5},
        "method": {"$ref": "#/components/schemas/kitchen.v1.Dish.Method"},
        "tags": {
            "type": "array",
            "items": {"type": "string", "maxLength": 9},
            "minItems": 1,
            "maxItems": 3,
            "uniqueItems": True,
        },
        "sides": {
            "type": "object",
            "additionalProperties": {"$ref": "#/components/schemas/kitchen.v1.Dish"},
            "maxProperties": 2,
        },
        "price": {"$ref": "#/components/schemas/google.type.Money", "x-minimum": 0},
        "createTime": {"type": "string", "format": "date-time"},
        "rest": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
        "served": {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
        "picture": {"type": "string", "contentEncoding": "base64"},
        "cookEmail": {"type": "string", "format": "email", "maxLength": 254, "x-sensitive": True},
        "fork": {"type": "boolean", "description": "With. At most one of `fork`, `spoon`."},
        "spoon": {"type": "boolean", "description": "Or with. At most one of `fork`, `spoon`."},
        "weight": {"type": "number", "format": "double"},
    }
    assert document["components"]["schemas"]["kitchen.v1.Dish.Method"] == {
        "type": "string",
        "enum": ["METHOD_UNSPECIFIED", "METHOD_FRIED"],
        "description": "How it is made.\n- `METHOD_UNSPECIFIED`: Not said.\n- `METHOD_FRIED`: In a pan.",
    }
    assert document["components"]["schemas"]["google.type.Money"]["properties"]["units"]["type"] == "string"


def test_every_error_has_the_one_shape(document: Any) -> None:
    schemas = {
        response["content"]["application/json"]["schema"]["$ref"]
        for response in document["components"]["responses"].values()
    }

    assert schemas == {"#/components/schemas/Error"}
    assert document["components"]["schemas"]["Error"]["required"] == ["code", "message", "details"]
    assert "Retry-After" in document["components"]["responses"]["TooManyRequests"]["headers"]


def test_the_text_is_the_same_for_the_same_contract(files: FileDescriptorSet) -> None:
    texts = {render_openapi(read_contract(files.file), files.file, title="Kitchen", version="7") for _ in range(3)}

    assert len(texts) == 1


def test_the_shops_own_document_is_valid(tmp_path: Path) -> None:
    output = tmp_path / "openapi.json"

    subprocess.run(
        [sys.executable, "-m", "weft.contract", "openapi", ROOT / "gen/image.binpb", "--output", output],
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
    )

    validate(json.loads(output.read_text()))


def test_a_contract_that_breaks_a_rule_is_refused_with_every_problem_on_a_line(
    tmp_path: Path, files: FileDescriptorSet
) -> None:
    broken = FileDescriptorSet()
    broken.CopyFrom(files)
    kitchen = next(file for file in broken.file if file.name == "kitchen.proto")
    for method in kitchen.service[0].method[:2]:
        method.options.ClearField("idempotency_level")
        for field, _ in method.options.ListFields():
            if field.full_name == "mesh.v1.method":
                method.options.ClearExtension(field)  # type: ignore[arg-type]  # found, not generated
    (tmp_path / "image.binpb").write_bytes(broken.SerializeToString())

    refused = subprocess.run(
        [sys.executable, "-m", "weft.contract", "openapi", tmp_path / "image.binpb", "--output", tmp_path / "out"],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        capture_output=True,
        text=True,
    )

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 4
    assert "GetDish: does not say who may call it" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()
