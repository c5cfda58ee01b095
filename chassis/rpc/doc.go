// Package rpc is a gRPC server and client with one behaviour in every process.
//
// A server refuses to start when one of its methods carries no access policy
// (option messagerie.access.v1.access). Each call then passes, in this order:
// recovery from panics, trace and metrics, identity and policy, the rule for the
// characters of strings (messagerie.input.v1), the message's own rules
// (protovalidate), the handler; the handler's error is turned into a
// google.rpc.Status with typed details on the way back. The requests of streams pass
// the same checks.
//
// # Errors
//
// One typed error, [Error], crosses an RPC. It carries a code, a stable reason, a
// text for the caller and details: google.rpc.BadRequest with one field violation
// for each fault of the input, google.rpc.RetryInfo where it helps to come back
// later, and google.rpc.ErrorInfo with the reason and its metadata (limit, actual,
// current version…). Its Cause is logged and never sent. Any other error is Internal:
// logged whole, and sent as "internal error". What is lost at the boundary is therefore
// every wrapped text; what is kept is what a caller can act on.
//
// # Deadlines
//
// A server shaves 20 ms off the deadline it was given, so that it is the one to
// report which of its own calls ran out of time. A client that was given none sets
// ten seconds.
package rpc
