package inbox

import (
	"errors"
	"os"
	"sync"
)

// journal is an append-only file of lines. A line that append returned for is on
// disk: lines that arrive while the disk is busy share its next flush.
type journal struct {
	mu      sync.Mutex
	log     *os.File
	size    int64 // in whole lines
	waiting []*entry
	busy    bool
}

type entry struct {
	line []byte
	done chan error
}

// append writes a line and returns when it is on disk, or an error when it is not
// and will not be.
func (j *journal) append(line []byte) error {
	e := &entry{line, make(chan error, 1)}
	j.mu.Lock()
	j.waiting = append(j.waiting, e)
	if !j.busy {
		j.busy = true
		go j.drain()
	}
	j.mu.Unlock()
	return <-e.done
}

// drain writes what waits until nothing does.
func (j *journal) drain() {
	j.mu.Lock()
	for len(j.waiting) > 0 {
		batch := j.waiting
		j.waiting = nil
		j.mu.Unlock()
		err := j.write(batch)
		for _, e := range batch {
			e.done <- err
		}
		j.mu.Lock()
	}
	j.busy = false
	j.mu.Unlock()
}

// write puts lines on disk. What a failed write left of them is cut off again, as
// their senders are told that they were not accepted.
func (j *journal) write(batch []*entry) error {
	var all []byte
	for _, e := range batch {
		all = append(all, e.line...)
	}
	_, err := j.log.Write(all)
	if err == nil {
		err = j.log.Sync()
	}
	if err != nil {
		return errors.Join(err, j.log.Truncate(j.size))
	}
	j.size += int64(len(all))
	return nil
}

// clear deletes all lines.
func (j *journal) clear() error {
	return j.alone(func() error {
		j.size = 0
		return j.log.Truncate(0)
	})
}

func (j *journal) close() error { return j.alone(j.log.Close) }

// alone does something while nobody writes.
func (j *journal) alone(do func() error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.busy {
		j.mu.Unlock()
		// An empty line waits in turn for the flush under way.
		_ = j.append(nil)
		j.mu.Lock()
	}
	return do()
}
