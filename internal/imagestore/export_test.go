package imagestore

// DieAt has f call die at the step of an upload's name, as if the machine did.
func DieAt(f *Files, step string, die func()) {
	f.at = func(now string) {
		if now == step {
			die()
		}
	}
}
