package door

import (
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

// requestMetadata is which metadata of a call reaches the service, and how many bytes of
// each; nothing else passes. The services take 16 KiB in all. Trace context is passed too,
// but written by telemetry.
var requestMetadata = map[string]int{"authorization": 9 << 10, rpc.IdempotencyKeyName: 128, "accept-language": 256, "if-match": 1 << 10, "if-none-match": 1 << 10}

// AllowedResponse reports whether a service's metadata may be passed on with its answer.
func AllowedResponse(key string) bool { return responseMetadata[key] }

// responseMetadata is which metadata of a service's answer reaches the caller.
var responseMetadata = map[string]bool{
	"cache-control":    true,
	"content-language": true,
	"etag":             true,
	rpc.ReplayedName:   true,
	"last-modified":    true,
}

// ListOf joins the lines of a header (RFC 9110, 5.3). Two lines of a header that is not a
// list make an invalid value.
func ListOf(lines []string) string { return strings.Join(lines, ", ") }

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// printable reports whether gRPC metadata may hold the value.
func printable(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}
