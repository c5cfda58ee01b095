// Package walk holds the documents to their word: its tests type what README.md and the
// pages for makers of tools and front ends tell their readers to type, in order and as it
// stands, against a system of their own, and look at what has come of it. It has no code
// but tests, which are run anew each time, because Go does not see what they read outside
// their module.
package walk
