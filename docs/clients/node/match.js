// Matches one file: node match.js ADDRESS CA_FILE TOKEN_FILE FILE
"use strict";
const fs = require("fs");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const ROOT = path.join(__dirname, "../../..");
const DEADLINE_MS = 30_000;
const MESSAGE_BYTES = 32 << 20;
const definition = loader.loadSync(
  ["hashwarden/match/v1/match.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"],
  {
    includeDirs: [path.join(ROOT, "protos"), path.join(ROOT, "build/protodeps")],
    enums: String, // DECISION_MATCH, not 2
    longs: String,
    defaults: true, // what is empty is "", not undefined
    keepCase: true,
  },
);
const { hashwarden } = grpc.loadPackageDefinition(definition);

const [address, caFile, tokenFile, file] = process.argv.slice(2);
const client = new hashwarden.match.v1.MatchService(
  address,
  grpc.credentials.createSsl(fs.readFileSync(caFile)),
  {
    "grpc.service_config": fs.readFileSync(path.join(__dirname, "../service_config.json"), "utf8"),
    "grpc.per_rpc_retry_buffer_size": MESSAGE_BYTES,
    "grpc.max_receive_message_length": MESSAGE_BYTES,
  },
);
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${fs.readFileSync(tokenFile, "utf8").trim()}`);

// The server's own reason, for programs; empty where the error came from somewhere else.
function reasonOf(error) {
  for (const bytes of error.metadata?.get("grpc-status-details-bin") ?? []) {
    const status = definition["google.rpc.Status"].deserialize(bytes);
    for (const detail of status.details) {
      if (detail.type_url.endsWith("/google.rpc.ErrorInfo")) {
        return definition["google.rpc.ErrorInfo"].deserialize(detail.value).reason;
      }
    }
  }
  return "";
}

client.MatchImage(
  { image: fs.readFileSync(file), reference: path.basename(file) },
  metadata,
  { deadline: Date.now() + DEADLINE_MS },
  (error, answer) => {
    client.close();
    if (error) {
      console.log(grpc.status[error.code], reasonOf(error), error.details);
      process.exitCode = 2;
      return;
    }
    const { decision, match_id: id, not_hashable: reason, explanation } = answer.result;
    console.log(decision, id || reason?.reason || "", explanation);
  },
);
