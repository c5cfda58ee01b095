package door

import (
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

// requestMetadata is what a caller's call takes along to the service, and how many
// bytes of it; nothing else passes. The services take 16 KiB in all. Trace context
// travels too, but is written by telemetry.
var requestMetadata = map[string]int{"authorization": 9 << 10, rpc.IdempotencyKeyName: 128, "accept-language": 256, "if-match": 1 << 10, "if-none-match": 1 << 10}

// AllowedResponse reports whether a service's metadata may go along with its answer.
func AllowedResponse(key string) bool { return responseMetadata[key] }

// responseMetadata is what a service's answer takes along to the caller.
var responseMetadata = map[string]bool{
	"cache-control":    true,
	"content-language": true,
	"etag":             true,
	rpc.ReplayedName:   true,
	"last-modified":    true,
}

// ListOf is what the lines of a header say together (RFC 9110, 5.3). Two of what is no list
// make something that is no value.
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
