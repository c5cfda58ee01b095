// Package flow bounds what a gRPC connection makes the gateway hold and do below the level
// of calls, where gRPC itself sets no bound that depends on who calls.
//
// # What is promised
//
// Answers that a caller does not read stay in memory until it does: HTTP/2 lets the reader
// say how much may be sent, which may be nothing. So of each connection it is known how much
// was answered and how much of that has left, and [Ledger.Full] says when a call on it should
// be refused. How much that is depends on whether its caller is known, and on what all
// connections of the address have together.
//
// What comes is work, whether a call becomes of it or not: each frame that is read is taken
// off the budget of the connection's caller (fair.Conn.Spend), which reads no further
// when that is spent.
//
// # How
//
// [Credentials] wraps those of the server. They hand gRPC a connection that looks for the
// heads of HTTP/2 frames in the bytes that pass, and holds none of them.
//
// # When it breaks
//
// An answer whose call is given up after it was queued is never sent and counts to the
// connection's end. A connection that was not accepted by a fair.Listener has no budget.
package flow
