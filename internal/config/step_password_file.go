package config

// StepPasswordFile checks user names and passwords against a file like
// mosquitto's.
type StepPasswordFile struct {
	// Path is the file. It is read at the start and at each reload.
	Path string `yaml:"path"`
}

func (k *check) passwordFile(key string, s *StepPasswordFile) {
	if s.Path == "" {
		k.add(key+".password_file.path", "is missing: name the file, which fantail passwd writes")
	}
}
