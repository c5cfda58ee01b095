// Package answer writes what REST answers: statuses, entity tags, compression, refusals, and
// the name of the request.
//
// # What is promised
//
// No answer is cached unless somebody allowed it. What the caller already has is not sent
// again (If-None-Match, 304). A compressed answer has a tag of its own, and a tag that comes
// back is understood with or without it; HEAD has the headers of GET. A refusal is a
// google.rpc.Status in JSON, the same that gRPC callers get, with the headers that HTTP
// knows for it. Each answer names its request, and says what is left of the caller's rate.
//
// # How
//
// [Compressed] wraps the whole port. Each request has a [Writer], through which whatever is
// behind writes: it changes the head at the last moment, when the status is known.
// httpsnoop would lose what it needs of a flush, which is the error: by it a stream knows that its
// reader has gone.
//
// # When it breaks
//
// A caller who takes neither gzip nor identity has a short answer as it is all the same.
package answer
