// Command errors writes docs/errors.md: all reasons of refusals, from their .proto.
//
//	go run ./dev/errors > docs/errors.md
package main

import (
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

const head = `# Errors

A refusal says the same over gRPC and REST: it is a [google.rpc.Status](https://google.aip.dev/193)
whose details are typed. Over REST it is the body, in JSON.

| detail | what for |
|---|---|
| ` + "`ErrorInfo`" + ` | ` + "`reason`" + `, which a program compares and which keeps its meaning; ` + "`domain`" + ` is ` + "`messagerie`" + `; ` + "`metadata`" + ` has values, all text |
| ` + "`BadRequest`" + ` | the faults of the input, all together: parameters, members of the body, headers, the taxonomy; what cannot be read has no further faults, and if the body is not a JSON object, no member of it is named; ` + "`field`" + ` as JSON writes it (of a header, its name in lower case), ` + "`reason`" + `, ` + "`description`" + ` for developers, ` + "`localizedMessage`" + ` for people |
| ` + "`LocalizedMessage`" + ` | words that a front end may show, in French, or in English where ` + "`Accept-Language`" + ` prefers it |
| ` + "`RetryInfo`" + ` | when to try again; REST: ` + "`Retry-After`" + `, in seconds |
| ` + "`messagerie.messaging.v1.ConversationChanged`" + ` | with ` + "`CONVERSATION_CHANGED`" + ` and 409: ` + "`messages`" + `, what was written since, and ` + "`lastMessageId`" + ` as it is now; ` + "`incomplete`" + ` where a refusal cannot hold them all |
| ` + "`RequestInfo`" + ` | the id of the request, which every answer has: ` + "`X-Request-Id`" + `, over gRPC the trailer ` + "`x-request-id`" + `. It is made of trace_id and span_id, as the gateway logs them; the other services log the same trace_id |

` + "`message`" + ` is for developers, in English, and may change at any time. New reasons may be added: have a
case for those that you do not know, by the status. A reason without an HTTP status of its own has
that of its code. A ` + "`google.rpc.Code`" + ` without a reason comes from a proxy or from gRPC itself.

A call with an ` + "`Idempotency-Key`" + ` may be sent again after any of 429, 500, 503 and 504, and
when no answer came: with the same key it is carried out once. A key belongs to its caller and method:
for other content, or another conversation, it is refused (` + "`IDEMPOTENCY_KEY_REUSED`" + `); somebody else may
use the same. It is remembered for as long as what was made with it is kept. After an erasure, a repeat
of a submission is refused for 30 days (` + "`CONVERSATION_ERASED`" + `), and the conversation takes no more
follow-ups, replies or notes.

This page is generated from [error.proto](../proto/messagerie/error/v1/error.proto) by ` + "`make generate`" + `.

| reason | code, status | when | what to do |
|---|---|---|---|
`

func main() {
	var page strings.Builder
	page.WriteString(head)
	values := errorpb.ErrorReason(0).Descriptor().Values()
	for i := range values.Len() {
		reason := errorpb.ErrorReason(values.Get(i).Number())
		meaning := rpc.MeaningOf(reason)
		if meaning == nil {
			continue // that of none
		}
		var with []string
		for _, name := range meaning.GetCodes() {
			var code codes.Code
			if err := code.UnmarshalJSON([]byte(`"` + name + `"`)); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", reason, err)
				os.Exit(1)
			}
			with = append(with, fmt.Sprintf("%s, %d", name, rpc.HTTPStatus(code, reason)))
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", reason, strings.Join(with, "; "), meaning.GetWhen(), meaning.GetRemedy())
	}
	page.WriteString("\n## In words\n\n| reason | French | English |\n|---|---|---|\n")
	for i := range values.Len() {
		reason := errorpb.ErrorReason(values.Get(i).Number())
		if meaning := rpc.MeaningOf(reason); meaning != nil {
			fmt.Fprintf(&page, "| `%s` | %s | %s |\n", reason, meaning.GetFr(), meaning.GetEn())
		}
	}
	if _, err := os.Stdout.WriteString(page.String()); err != nil {
		os.Exit(1)
	}
}
