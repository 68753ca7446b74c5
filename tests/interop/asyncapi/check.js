// Validates an AsyncAPI document, published schemas with their examples, and examples as messages of the document.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(import.meta.url);
const Ajv = require("ajv").default;
const Ajv2020 = require("ajv/dist/2020").default;
const formats = require("ajv-formats").default;
const read = (file) => JSON.parse(readFileSync(file, "utf8"));

const [documentFile, folder] = process.argv.slice(2);
const document = read(documentFile);
const errors = [];

function validate(what, check, value) {
  if (check(value)) return;
  for (const error of check.errors.slice(0, 5)) errors.push(`${what}${error.instancePath}: ${error.message}`);
}

// The schema of AsyncAPI is of draft 7, and so is what it says of payloads.
const draft7 = formats(new Ajv({ strict: false, allErrors: false, validateFormats: true, unicodeRegExp: false }));
const specification = read(require.resolve(`@asyncapi/specs/schemas/${document.asyncapi}-without-$id.json`));
validate("document", draft7.compile(specification), document);

// Numbers have names of formats that only say how large they are.
const options = { strict: true, strictTypes: false, allowUnionTypes: true, keywords: ["x-personal-data"] };
const sizes = ["uint", "uint8", "uint16", "uint32", "uint64", "int8", "int16"];
const draft2020 = formats(new Ajv2020(options));
// Its `id` would be taken for one of an old schema.
draft7.addSchema({ components: document.components }, "document");
for (const ajv of [draft2020, draft7]) for (const size of sizes) ajv.addFormat(size, true);

const tenant = "01920000-0000-7000-8000-000000000001";
const event = (schema, data) => {
  const [, type] = schema.$id.match(/^urn:service-hub:event-type:([a-z0-9_.]+):[0-9]+$/);
  return {
    specversion: "1.0",
    id: tenant,
    source: `urn:service-hub:tenant:${tenant}`,
    type,
    subject: `${type.split(".")[0]}/${tenant}`,
    time: "2026-01-01T12:00:00.000001Z",
    datacontenttype: "application/json",
    dataschema: schema.$id,
    sequence: "00000000000000000042",
    partitionkey: tenant,
    streamsequence: "7",
    tenantid: tenant,
    data,
  };
};

const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
for (const file of files) {
  const schema = read(join(folder, file));
  const check = draft2020.compile(schema);
  for (const example of schema.examples) {
    validate(file, check, example);
    const cloudEvent = event(schema, example);
    const message = { $ref: `document#/components/messages/${cloudEvent.type}/payload` };
    validate(`message ${cloudEvent.type}`, draft7.compile(message), cloudEvent);
    if (draft7.compile(message)({ ...cloudEvent, type: "nothing.like_it" })) errors.push(`${file}: any type would do`);
  }
}

for (const error of errors) console.error(error);
console.log(`${document.asyncapi}: ${Object.keys(document.components.messages).length} messages, ${files.length} schemas, ${errors.length} errors`);
process.exit(errors.length === 0 ? 0 : 1);
