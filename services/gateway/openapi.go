package gateway

import _ "embed"

// openAPI is the description of the REST side, OpenAPI 3.1, served as it is. `make generate`
// writes it from the .proto (internal/openapi).
//
//go:embed openapi.json
var openAPI []byte
