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
// What Accept takes none of is refused with 406. No answer is held longer than it takes to
// write it, which has [answer.WriteTimeout]; so has each sign of life. A service that refuses
// before its first answer gives the call an HTTP status, as it does any other call.
//
// # How
//
// [Serve] asks through the call that the door admitted and passes each answer on as it comes.
// While a watch is quiet a sign of life shows proxies and readers that it is alive.
//
// # When it breaks
//
// A stream that breaks off says so in its format, but for a document: that lacks its end, and
// the connection breaks with it. What a cut of a watch costs is said in sse.go.
package stream
