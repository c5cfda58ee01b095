//go:build race

package testenv

// Race reports whether the race detector is built in. It makes everything several
// times slower and larger: a test of sheer volume takes less of it then, since what the
// detector is there for shows early.
const Race = true
