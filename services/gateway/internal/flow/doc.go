// Package flow bounds what a gRPC connection makes the gateway hold and do below the level
// of calls, where gRPC itself sets no bound that depends on who calls.
//
// # What is promised
//
// Answers that a caller does not read stay in memory until it does: HTTP/2 lets the reader
// say how much may be sent, which may be nothing. So for each connection it is counted how
// much was answered and how much of that was sent, and [Ledger.Full] reports when a call on it
// should be refused. The bound depends on whether its caller is known, and on how much waits
// on all connections of the address together.
//
// Whatever is received is work, whether it becomes a call or not: each frame that is read is
// taken off the budget of the connection's caller (fair.Conn.Spend), and the connection is
// not read while that is used up.
//
// # How
//
// [Credentials] wraps those of the server. They hand gRPC a connection that looks for the
// heads of HTTP/2 frames in the bytes that pass through, and buffers none of them.
//
// # When it breaks
//
// An answer whose call is given up after it was queued is never sent, and counts until the
// connection ends. A connection that was not accepted by a fair.Listener has no budget.
package flow
