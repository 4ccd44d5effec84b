// Package chaos kills everything that Slipway is made of and stands on, with real processes, while clients build and delete
// servers, and then looks whether every build has ended as it should and whether anything is left: `make chaos`.
package chaos
