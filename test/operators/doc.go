// Package operators shows, with the real engine, that an operator finds the undos that wait, reads why, and can have them
// tried again or given up.
package operators
