;;; smoke.el --- fimd in Emacs with lsp-mode  -*- lexical-binding: t; -*-

;; The client is the one of docs/editors/emacs.md, except for the program's path.

;;; Code:

(require 'lsp-mode)
(require 'lsp-inline-completion)
(require 'python)

(setq lsp-log-io nil
      lsp-session-file (expand-file-name "lsp-session" (getenv "XDG_STATE_HOME"))
      lsp-server-install-dir (getenv "XDG_DATA_HOME")
      lsp-auto-guess-root t
      lsp-enable-snippet nil
      lsp-lens-enable nil
      lsp-modeline-code-actions-enable nil
      lsp-enable-file-watchers nil
      lsp-inline-completion-enable nil
      ;; In a batch Emacs nobody types: the test asks for suggestions itself.
      lsp-response-timeout 60)

(lsp-register-client
 (make-lsp-client
  :new-connection (lsp-stdio-connection (lambda () (list (getenv "FIMD_E2E_BIN") "lsp")))
  :activation-fn (lambda (&rest _) t)
  :add-on? t
  :server-id 'fimd))

(defvar fimd-smoke-passed 0)
(defvar fimd-smoke-failed 0)

(defun fimd-smoke-check (what ok &optional detail)
  "Count WHAT as passed if OK, else as failed with DETAIL."
  (if ok
      (setq fimd-smoke-passed (1+ fimd-smoke-passed))
    (setq fimd-smoke-failed (1+ fimd-smoke-failed)))
  (princ (format "%s %s%s\n" (if ok "ok  " "FAIL") what
                 (if (or ok (not detail)) "" (format ": %S" detail)))))

(defun fimd-smoke-wait (seconds condition)
  "Let processes run until CONDITION returns non-nil, for at most SECONDS."
  (let ((deadline (+ (float-time) seconds)) value)
    (while (and (not (setq value (funcall condition)))
                (< (float-time) deadline))
      (accept-process-output nil 0.02))
    value))

(defun fimd-smoke-shown ()
  "The ghost text on the screen, without the character before it that lsp-mode repeats."
  (when (overlayp lsp-inline-completion--overlay)
    (let ((text (concat (overlay-get lsp-inline-completion--overlay 'display)
                        (overlay-get lsp-inline-completion--overlay 'after-string))))
      (substring-no-properties
       (if (eq (overlay-start lsp-inline-completion--overlay) lsp-inline-completion--start-point)
           text
         (substring text 1))))))

(defun fimd-smoke-suggest ()
  "Ask until there is a suggestion: the model may still be loading."
  (fimd-smoke-wait 40 (lambda ()
                        (lsp-inline-completion-display)
                        (fimd-smoke-shown))))

(defun fimd-smoke (file)
  "Complete in FILE, print the counts and exit."
  (let ((typed "        return self."))
    (find-file file)
    (lsp)
    (fimd-smoke-check "the server starts"
                      (fimd-smoke-wait 30 (lambda ()
                                            (seq-some (lambda (workspace)
                                                        (eq (lsp--workspace-status workspace)
                                                            'initialized))
                                                      (lsp-workspaces)))))
    (let ((before (buffer-string)) shown)
      (goto-char (point-max))
      (insert typed)
      (setq shown (fimd-smoke-suggest))
      (fimd-smoke-check "ghost text shows" (and shown (not (string-empty-p shown))) shown)
      (let ((item (elt lsp-inline-completion--items 0)))
        (fimd-smoke-check "it is what the daemon said"
                          (equal shown (lsp:inline-completion-item-insert-text item))
                          (list shown item)))
      (fimd-smoke-check "it is not in the buffer" (equal (buffer-string) (concat before typed)))
      (when shown
        (lsp-inline-completion-accept)
        (fimd-smoke-check "accept inserts it"
                          (equal (buffer-string) (concat before typed shown))
                          (buffer-string)))
      ;; Wide characters: positions are counted in the encoding that was agreed on.
      (goto-char (point-max))
      (insert "\n\nname = \"数据 😀\"; stack = Stack(); stack.")
      (let ((whole (buffer-string))
            (next (fimd-smoke-suggest)))
        (fimd-smoke-check "ghost text shows after wide characters" next)
        (when next
          (lsp-inline-completion-cancel)
          (fimd-smoke-check "cancel leaves the text alone" (equal (buffer-string) whole))
          (fimd-smoke-suggest)
          (lsp-inline-completion-accept)
          (fimd-smoke-check "accept after wide characters"
                            (equal (buffer-string) (concat whole next))
                            (buffer-string)))))
    (set-buffer-modified-p nil)
    (princ (format "emacs: %d passed, %d failed\n" fimd-smoke-passed fimd-smoke-failed))
    (kill-emacs (if (zerop fimd-smoke-failed) 0 1))))

;;; smoke.el ends here
