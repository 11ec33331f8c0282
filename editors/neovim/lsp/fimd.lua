-- For use without the plugin's setup, on Neovim 0.12: vim.lsp.enable('fimd') and
-- vim.lsp.inline_completion.enable(). See :help fimd-builtin.

---@type vim.lsp.Config
return {
  cmd = { 'fimd', 'lsp' },
  root_markers = { '.git', '.hg', '.jj' },
}
