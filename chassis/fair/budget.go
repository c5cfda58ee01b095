package fair

import "time"

// A budget is how many bytes a second somebody may send, and how many at once. It is more
// than their request rate lets them send as requests: whoever exhausts it sends what never
// becomes a request (frames without a stream, heads that are refused before they are
// counted, a request byte by byte), which is as much work for a server.
const (
	strangerBytes, strangerBurst = 1 << 20, 2 << 20
	callerBytes, callerBurst     = 2 << 20, 5 << 20
	reporterBytes, reporterBurst = 16 << 20, 32 << 20
)

// wasteRate and wasteBurst bound the work on a connection of several people that its calls
// do not account for, a second and at once. Heads are such work until their calls are counted.
const wasteRate, wasteBurst = 256 << 10, 3 << 20

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

// Reports notes whether the connection now carries a provider's reports, which are more
// than a stranger's requests.
func (c *Conn) Reports(are bool) {
	if c != nil {
		c.reports.Store(are)
	}
}

// Spend takes work beyond the bytes themselves, such as a frame's, off the budget of the
// connection's caller, or of its address if nobody has signed in. When the budget is used
// up, the connection is not read until there is some again, for at most a second, and then
// in small pieces.
//
// A pause on a connection of several people delays all of them, so it has no budget of
// bytes. But work that does not become a call ([Conn.Counted]) is nothing that a front end
// sends for its users: that is attributed to the connection itself, and bounded.
func (c *Conn) Spend(work int) {
	if c.budgeted() && work > 0 {
		c.spend(work, true)
	}
}

// Counted notes that a call on the connection was counted, which accounts for this much of
// the work that was spent.
func (c *Conn) Counted(work int) {
	if c.budgeted() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.several {
			c.waste.add(-work, time.Now())
		}
	}
}

func (c *Conn) budgeted() bool { return c != nil && !c.trusted && c.listener.limits.Unproven > 0 }

// spend takes bytes that have come, or work, off the budget.
func (c *Conn) spend(n int, work bool) {
	all := &c.listener.budgets
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var wait time.Duration
	switch {
	case c.several && work:
		wait = c.waste.add(n, now)
	case c.several:
	case c.caller != "":
		wait = all.callers.turns(c.caller, n, now, maxWait)
	case c.reports.Load():
		wait = all.reporters.turns(c.address, n, now, maxWait)
	default:
		wait = all.strangers.turns(c.address, n, now, maxWait)
	}
	if wait == 0 {
		return
	}
	if until := now.Add(wait); until.After(c.pause) {
		c.pause = until
	}
	c.pieces = now.Add(calm)
}

// waste is work that no call has accounted for yet, in bytes, as of a time.
type waste struct {
	bytes float64
	at    time.Time
}

// add notes work, or with a negative n a call that accounts for it, and returns how long
// to wait until no more than wasteBurst is left. The wait is never longer than maxWait.
func (w *waste) add(n int, now time.Time) (wait time.Duration) {
	left := max(w.bytes-wasteRate*now.Sub(w.at).Seconds(), 0) + float64(n)
	w.bytes, w.at = min(max(left, 0), wasteBurst+wasteRate*maxWait.Seconds()), now
	return max(time.Duration((w.bytes-wasteBurst)/wasteRate*float64(time.Second)), 0)
}
