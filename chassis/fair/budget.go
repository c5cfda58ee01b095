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

// What is more work than the calls on a connection of several people account for may be
// so much a second, and so much at once: what its heads are until their calls are counted.
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

// Reports notes whether what comes on the connection now are a provider's reports, of
// which there is more than of a stranger's requests.
func (c *Conn) Reports(are bool) {
	if c != nil {
		c.reports.Store(are)
	}
}

// Spend takes work that is more than its bytes, such as a frame's, off the budget of who
// calls on the connection, of its address when nobody has signed in. Where there is none
// left, the connection is read no further for as long as it takes, at most a second, and
// then little at once.
//
// One on which several people call is read late for all of them, so it has no budget of
// bytes. But work of which no call comes ([Conn.Counted]) is nothing that a front end
// sends for its people: what there is of it is the connection's own, and is bounded.
func (c *Conn) Spend(work int) {
	if c.budgeted() && work > 0 {
		c.spend(work, true)
	}
}

// Counted notes that a call on the connection was counted, which accounts for so much of
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

// waste is work that no call has accounted for yet.
type waste struct {
	owed float64
	at   time.Time
}

// add notes work, or with a negative n a call that accounts for it, and returns how long
// to wait until what is owed is no more than it may be. It is never more than that and
// what maxWait takes away.
func (w *waste) add(n int, now time.Time) (wait time.Duration) {
	owed := max(w.owed-wasteRate*now.Sub(w.at).Seconds(), 0) + float64(n)
	w.owed, w.at = min(max(owed, 0), wasteBurst+wasteRate*maxWait.Seconds()), now
	return max(time.Duration((w.owed-wasteBurst)/wasteRate*float64(time.Second)), 0)
}
