// Package stream writes the answers of methods that have many of them, over HTTP.
//
// # What is promised
//
// A method with many answers has one of three formats, as Accept asks for:
//
//   - text/event-stream (sse.go), which a watch has by default: server-sent events;
//   - application/json (document.go), which an export has by default: one document;
//   - application/x-ndjson, of both: one answer a line.
//
// If Accept allows none of these, the call is refused with 406. No answer is held longer than
// it takes to write it, which [answer.WriteTimeout] bounds, as it does each heartbeat. A
// refusal before the first answer has its HTTP status, as for any other call.
//
// # How
//
// [Serve] uses the call that the door admitted and passes each answer on as it comes. While a
// watch has nothing to say, a heartbeat shows proxies and readers that it is alive.
//
// # When it breaks
//
// A stream that breaks off says so in its format, except for a document: that is incomplete,
// and the connection is cut. For what a cut of a watch costs, see sse.go.
package stream
