//! The OpenAPI 3.1 document: how it is begun, described, checked and served.
//!
//! aide collects schemas in the thread, so a document is made in one go: `document` takes the function that builds the
//! whole router. Operations are described with `described` and `refuses`; headers, bodies and problems document
//! themselves, because the extractors and answers of this crate do.

use std::collections::{BTreeSet, HashSet};

use aide::{
    axum::ApiRouter,
    generate::{GenContext, in_context, reset_context},
    openapi::{
        Components, Header, HeaderStyle, Info, MediaType, OpenApi, Operation, Parameter, ParameterData,
        ParameterSchemaOrContent, PathItem, PathStyle, QueryStyle, ReferenceOr, Response, SchemaObject, SecurityScheme,
        StatusCode, Tag,
    },
    transform::TransformOperation,
};
use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, header},
    response::IntoResponse,
    routing::get,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};

use crate::problem::{self, RefusalKind};

/// Name of the bearer scheme in the document.
pub const SECURITY_SCHEME: &str = "bearer";

/// Where `serve` puts the document.
pub const DOCUMENT_PATH: &str = "/openapi.json";

const REQUEST_ID_HEADER: &str = "X-Request-Id";

/// What the document says about the whole.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Name of the service.
    pub title: &'a str,
    /// Version of the interface.
    pub version: &'a str,
    /// CommonMark.
    pub description: &'a str,
    /// Name and description of each tag, in the order they are shown.
    pub tags: &'a [(&'a str, &'a str)],
}

/// Builds a router together with its document. All routers of the document must be made inside `build`, on this
/// thread; `ApiRouter::merge` joins those of several crates.
pub fn document(about: About<'_>, build: impl FnOnce() -> ApiRouter) -> (Router, OpenApi) {
    reset_context();
    // aide begins with draft 7; OpenAPI 3.1 speaks 2020-12.
    in_context(|ctx| {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
        });
        ctx.schema = SchemaGenerator::new(settings);
    });
    let mut api = OpenApi {
        info: Info {
            title: about.title.to_owned(),
            version: about.version.to_owned(),
            description: Some(about.description.to_owned()),
            ..Info::default()
        },
        tags: about.tags.iter().map(|(name, description)| tag(name, description)).collect(),
        components: Some(components()),
        ..OpenApi::default()
    };
    let router = build().finish_api(&mut api);
    for operation in operations_mut(&mut api) {
        add_request_id(operation);
    }
    drop_unused_schemas(&mut api);
    (router, api)
}

/// Path and query structs leave their schemas behind although only their fields are used, as parameters.
fn drop_unused_schemas(api: &mut OpenApi) {
    loop {
        let text = serde_json::to_string(api).expect("an openapi document is plain json");
        let Some(components) = &mut api.components else { return };
        let before = components.schemas.len();
        let references = text.split("\"#/components/schemas/").skip(1);
        let used: HashSet<&str> = references.filter_map(|reference| reference.split('"').next()).collect();
        components.schemas.retain(|name, _| used.contains(name.as_str()));
        // Each round removes at least one, so this ends.
        if components.schemas.len() == before {
            return;
        }
    }
}

fn tag(name: &str, description: &str) -> Tag {
    Tag { name: name.to_owned(), description: Some(description.to_owned()), ..Tag::default() }
}

fn components() -> Components {
    let mut components = Components::default();
    let scheme = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: Some("hub_<id>_<secret>".to_owned()),
        description: Some("A key of the platform, or of one tenant.".to_owned()),
        extensions: Default::default(),
    };
    components.security_schemes.insert(SECURITY_SCHEME.to_owned(), ReferenceOr::Item(scheme));
    let description = "Identifies the request in the log; kept when the request brings one.";
    components.headers.insert(REQUEST_ID_HEADER.to_owned(), header_documented(description, "string"));
    components
}

fn operations_mut(api: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = api.paths.iter_mut().flat_map(|paths| paths.paths.values_mut());
    items.filter_map(ReferenceOr::as_item_mut).flat_map(|item| {
        let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
        [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
    })
}

fn add_request_id(operation: &mut Operation) {
    let Some(responses) = &mut operation.responses else { return };
    let all = responses.responses.values_mut().chain(&mut responses.default);
    for response in all.filter_map(ReferenceOr::as_item_mut) {
        let reference = ReferenceOr::ref_(&format!("#/components/headers/{REQUEST_ID_HEADER}"));
        response.headers.insert(REQUEST_ID_HEADER.to_owned(), reference);
    }
}

/// Adds `GET /openapi.json`, written once.
pub fn serve(router: Router, api: &OpenApi) -> Router {
    let text = Bytes::from(serde_json::to_vec(api).expect("an openapi document is plain json"));
    let handler = async move || {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, text).into_response()
    };
    router.route(DOCUMENT_PATH, get(handler))
}

/// Names an operation: a unique camelCase or snake_case id, its tag, one line of summary, and CommonMark.
pub fn described<'t>(
    operation: TransformOperation<'t>,
    id: &str,
    tag: &str,
    summary: &str,
    description: &str,
) -> TransformOperation<'t> {
    operation.id(id).tag(tag).summary(summary).description(description)
}

/// Documents the refusals of an operation: each code under the status of its kind.
pub fn refuses<'t>(mut operation: TransformOperation<'t>, refusals: &[(RefusalKind, &str)]) -> TransformOperation<'t> {
    let statuses: BTreeSet<u16> = refusals.iter().map(|(kind, _)| kind.status().as_u16()).collect();
    for status in statuses {
        let codes = refusals.iter().filter(|(kind, _)| kind.status().as_u16() == status);
        let codes: Vec<&str> = codes.map(|(_, code)| *code).collect();
        let description = problem::describe_status(status, &codes);
        let response = in_context(|ctx| problem::documented(ctx, description));
        let responses = operation.inner_mut().responses.get_or_insert_default();
        responses.responses.insert(StatusCode::Code(status), ReferenceOr::Item(response));
    }
    operation
}

/// What is missing in a document, one sentence each; empty when every operation has a unique id, a declared tag, a
/// summary, a description, a success and a problem response, and asks for the bearer key. `open_operations` lists the
/// ids that anybody may call.
pub fn complaints(api: &OpenApi, open_operations: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in api.operations() {
        let mut complain = |what: &str| complaints.push(format!("{method} {path} {what}"));
        let id = operation.operation_id.as_deref().unwrap_or_default();
        if id.is_empty() {
            complain("has no operation id");
        } else if !ids.insert(id.to_owned()) {
            complain("has the operation id of another");
        }
        if operation.tags.is_empty() {
            complain("has no tag");
        }
        if operation.tags.iter().any(|name| !api.tags.iter().any(|tag| tag.name == *name)) {
            complain("has a tag that is not declared");
        }
        if operation.summary.as_deref().unwrap_or_default().is_empty() {
            complain("has no summary");
        }
        if operation.description.as_deref().unwrap_or_default().is_empty() {
            complain("has no description");
        }
        let open = open_operations.contains(&id);
        if open == operation.security.iter().any(|requirement| requirement.contains_key(SECURITY_SCHEME)) {
            complain(if open { "asks for a key though it is open" } else { "does not ask for a key" });
        }
        let responses = operation.responses.as_ref();
        let succeeds = |status: &StatusCode| matches!(status, StatusCode::Code(101 | 200..=299) | StatusCode::Range(2));
        if !responses.is_some_and(|responses| responses.responses.keys().any(succeeds)) {
            complain("has no success response");
        }
        if !open && responses.is_none_or(|responses| responses.default.is_none()) {
            complain("has no default problem response");
        }
        for segment in path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')) {
            let names = operation.parameters.iter().filter_map(ReferenceOr::as_item);
            if !names.clone().any(|parameter| parameter.parameter_data_ref().name == segment) {
                complain(&format!("does not document the path segment {segment}"));
            }
        }
    }
    complaints
}

fn schema_object(json_schema: Schema) -> SchemaObject {
    SchemaObject { json_schema, external_docs: None, example: None }
}

fn parameter_data(name: &str, description: &str, required: bool, schema: Schema) -> ParameterData {
    ParameterData {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema_object(schema)),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    }
}

/// An optional header parameter of a JSON type such as `string`.
pub fn header_parameter(name: &str, description: &str, json_type: &str, example: Option<&str>) -> Parameter {
    let mut parameter_data = parameter_data(name, description, false, json_schema!({"type": json_type}));
    parameter_data.example = example.map(serde_json::Value::from);
    Parameter::Header { parameter_data, style: HeaderStyle::Simple }
}

/// An optional query parameter.
pub fn query_parameter(name: &str, description: &str, schema: Schema) -> Parameter {
    let parameter_data = parameter_data(name, description, false, schema);
    Parameter::Query { parameter_data, allow_reserved: false, style: QueryStyle::Form, allow_empty_value: None }
}

/// A path parameter.
pub fn path_parameter(name: &str, description: &str, schema: Schema) -> Parameter {
    Parameter::Path { parameter_data: parameter_data(name, description, true, schema), style: PathStyle::Simple }
}

/// Adds a parameter unless the operation has one of that name in that place.
pub fn add_parameter_once(operation: &mut Operation, parameter: Parameter) {
    let same = |other: &Parameter| {
        std::mem::discriminant(other) == std::mem::discriminant(&parameter)
            && other.parameter_data_ref().name == parameter.parameter_data_ref().name
    };
    if !operation.parameters.iter().filter_map(ReferenceOr::as_item).any(same) {
        operation.parameters.push(ReferenceOr::Item(parameter));
    }
}

/// The answers of an operation that succeeds, with their statuses.
pub type Inferred = Vec<(Option<StatusCode>, Response)>;

/// The one answer of an operation that succeeds.
#[must_use]
pub fn inferred(status: u16, response: Option<Response>) -> Inferred {
    response.map(|response| (Some(StatusCode::Code(status)), response)).into_iter().collect()
}

/// A documented response header of a JSON type such as `string`.
pub fn header_documented(description: &str, json_type: &str) -> ReferenceOr<Header> {
    ReferenceOr::Item(Header {
        description: Some(description.to_owned()),
        style: HeaderStyle::Simple,
        required: false,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema_object(json_schema!({"type": json_type}))),
        example: None,
        examples: Default::default(),
        extensions: Default::default(),
    })
}

/// A documented response with a body of one media type and schema.
pub fn response_documented(description: &str, media_type: &str, schema: Schema) -> Response {
    let mut response = Response { description: description.to_owned(), ..Response::default() };
    let content = MediaType { schema: Some(schema_object(schema)), ..MediaType::default() };
    response.content.insert(media_type.to_owned(), content);
    response
}

pub(crate) fn json_response<T: JsonSchema>(ctx: &mut GenContext, description: &str) -> Response {
    let schema = ctx.schema.subschema_for::<T>();
    response_documented(description, "application/json", schema)
}
