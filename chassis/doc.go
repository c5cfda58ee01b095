// Package chassis is what every process of the system needs and nothing a
// member would recognise: configuration, telemetry, the admin port, signals.
//
// Its sub-packages hold the other parts of a process: auth (who is calling),
// rpc (gRPC servers and clients with one access policy), fair (what one caller may
// take of a process), bus (JetStream), postgres (pools, migrations, rows by the names
// of columns), batch (group commit), report (bounds for expensive queries), plain (which
// characters a single line may hold). localpg and testenv start real servers for tests
// and for the development launcher; production code never imports them.
//
// What may be added: something about running a process that three services need
// today and that hides a decision. What may not: a business noun, a collection
// of helpers, the configuration of one service. It promises no compatibility to
// anybody outside this repository.
package chassis
