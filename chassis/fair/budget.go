package fair

import "time"

// A budget is how many bytes a second somebody may send, and how many at once. It is
// above what their rates of requests let them send as requests: who exhausts it sends
// what never becomes one (frames without a stream, heads that are refused before anybody
// counts them, a request byte by byte), which is as much work for a server.
const (
	strangerBytes, strangerBurst = 1 << 20, 2 << 20
	callerBytes, callerBurst     = 2 << 20, 5 << 20
	reporterBytes, reporterBurst = 16 << 20, 32 << 20
)

// maxWait is the longest that a connection waits for its owner's budget before it is
// read again, a little at a time.
const maxWait = time.Second

// budgets are those of a listener.
type budgets struct {
	// strangers are by address, callers by who has signed in, reporters by address.
	strangers, callers, reporters *Rates
}

func newBudgets() budgets {
	return budgets{NewRates(strangerBytes, strangerBurst), NewRates(callerBytes, callerBurst), NewRates(reporterBytes, reporterBurst)}
}

// Reports notes whether what comes on the connection now are a provider's reports, of
// which there is more than of a stranger's requests.
func (c *Conn) Reports(are bool) {
	if c != nil {
		c.reports.Store(are)
	}
}

// Spend takes what the connection has sent, in bytes or what is as much work, off the
// budget of who calls on it, of its address when nobody has signed in. Where there is
// none left, the connection is read no further for as long as it takes, at most a second,
// and then little at once. One on which several people call goes on: what is read late is
// read late for all of them.
//
// Callers use it for what is more work than its bytes, which Read itself spends.
func (c *Conn) Spend(bytes int) {
	if c == nil || c.trusted || bytes == 0 || c.listener.limits.Unproven == 0 {
		return
	}
	all := &c.listener.budgets
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	of, who := all.strangers, c.address
	switch {
	case c.several:
		return
	case c.caller != "":
		of, who = all.callers, c.caller
	case c.reports.Load():
		of = all.reporters
	}
	wait := of.turns(who, bytes, now, maxWait)
	if wait == 0 {
		return
	}
	if until := now.Add(wait); until.After(c.pause) {
		c.pause = until
	}
	c.pieces = now.Add(calm)
}
