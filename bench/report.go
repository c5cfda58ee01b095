package main

// report is the document.
func (r *rig) report(done []row) string { return table(done) }
